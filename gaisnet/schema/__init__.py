"""The files that profile, plan and execute exchange."""
