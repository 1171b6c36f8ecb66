"""How fast and how large: what a device and a precision mean."""
