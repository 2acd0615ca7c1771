"""Hostile input for everything that reads bytes from files or from other devices: ``make fuzz``."""
