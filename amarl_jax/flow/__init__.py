"""Order flow of a recorded day: its laws, and how far a simulated market's are from them."""
