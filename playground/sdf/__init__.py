"""The second drawing engine: scenes of the world as signed distance fields, without lines around shapes."""
