"""Two order books to be faster than, frozen: change neither when ours changes."""
