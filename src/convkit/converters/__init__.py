"""One module per edge. `convkit.components.Converter` says what such a module holds."""
