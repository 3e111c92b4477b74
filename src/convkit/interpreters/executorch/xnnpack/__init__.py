"""What the XNNPACK delegate holds: a graph in a schema of executorch's, computed here with torch's operators."""
