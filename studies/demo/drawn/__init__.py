"""The three domains of drawn pictures, and the paper and brushes they are drawn with."""
