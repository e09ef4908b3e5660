"""The pages of the control process: server-rendered, without a build step, over the same services as the API."""
