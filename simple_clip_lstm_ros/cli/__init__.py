"""The subcommands of `simple_clip_lstm`: each module parses, calls and prints."""
