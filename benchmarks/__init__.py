"""Measures what a gateway costs, beside others, over one upstream on one machine."""
