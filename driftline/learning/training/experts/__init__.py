"""How the members of a served mixture learn: what learning needs and serving does not."""
