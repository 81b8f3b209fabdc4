"""How far attributions may miss the sum that their method promises, without a warning."""

LARGEST_GAP = 0.05  # the largest error without a warning, as a share of the change of the output
