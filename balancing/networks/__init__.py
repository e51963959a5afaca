"""Networks for tables: preprocessing inside, several members, two antisymmetric logits."""
