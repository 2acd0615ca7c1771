"""The commands' options: how they are written, and what they mean to the rooms below."""
