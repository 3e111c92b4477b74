"""One module per runtime. `convkit.components.Runtime` says what such a module holds."""
