"""From the text of an instruction to a text for the model, a stop or a refusal; pure Python."""
