"""Models of other libraries with the sizes of `Size`, as functions from a batch to its loss."""
