"""What stands around the servers: the balancer before them, and how a new version takes their place."""
