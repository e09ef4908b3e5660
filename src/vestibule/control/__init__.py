"""The control process: API, sign-in, state, log and signing."""
