"""Fleets of unequal devices behind links of given figures, on one machine."""
