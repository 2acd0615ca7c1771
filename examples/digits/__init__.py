"""Handwritten digits on eight unequal devices: the whole of gaisnet on real data."""
