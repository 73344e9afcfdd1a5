"""What the order flow gives away to a reader who knows the policy: the exact posterior, by a particle filter."""
