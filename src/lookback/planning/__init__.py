"""From conf/ to a plan: composed, checked, and written as immutable files. Imports no torch."""
