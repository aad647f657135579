"""A recorded stream, played as the service would have met it."""
