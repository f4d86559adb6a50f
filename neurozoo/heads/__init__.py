"""Label heads: one logit a label, from the fused sequence."""
