"""Cases with a known answer: laws, posteriors of tapes, a sender's gradient, a plain-Python book.

The tests and the experiments measure the package against them, and so may the author of an extension. Nothing else in
the package imports them.
"""
