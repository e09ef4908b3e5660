"""Sans-IO codecs that several packages share."""
