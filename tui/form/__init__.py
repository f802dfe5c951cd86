"""The launch form without its looks: what its fields are, what they hold, and what is launched when it is sent."""
