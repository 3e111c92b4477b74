"""Reports: one record of a conversion, and the faces that show it."""
