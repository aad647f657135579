"""The wire: the type of each message, and one table of the endpoints that app, gatekeeper, OpenAPI page and client share."""
