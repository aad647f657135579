"""Served models as estimators of other libraries: ``river`` and ``sklearn``, each for whoever has that library installed."""
