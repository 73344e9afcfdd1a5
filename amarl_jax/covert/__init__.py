"""The covert game and its learner."""
