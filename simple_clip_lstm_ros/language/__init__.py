"""From the text of an instruction to what it asks for; pure Python."""
