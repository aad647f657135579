"""Random faults on real processes under load, and a checker that is told nothing but what was seen."""
