"""Text of an instruction to a text for the model, a stop, or an error; pure Python."""
