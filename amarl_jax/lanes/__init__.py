"""A sweep: layout, program, table, measurements and figures of its lanes."""
