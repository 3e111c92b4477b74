"""The JavaScript that runs models in Node and in browsers, and Python's side of what the two say to each other."""
