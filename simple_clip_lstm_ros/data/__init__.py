"""What is seen and what was recorded: frames from messages, episodes, bags."""
