"""The steps between a request and its answer, one file each; ``isthmus.gateway`` puts them in order."""
