"""The hands: one command with verbs."""
