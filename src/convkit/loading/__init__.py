"""How a model of a format gets into its framework: what converters and runtimes of that framework share. Worker side."""
