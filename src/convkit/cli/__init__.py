"""The command line: one file a verb. They parse, call the API and render; they hold no logic."""
