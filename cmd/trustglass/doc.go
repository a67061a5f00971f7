// Command trustglass is the daemon. See the repository's README for what it does.
//
//	main.go      the command line: run, version
//	config.go    Config: every setting, its flag, its default, and Validate
//	manager.go   scheme, clients, metrics and the one list of controllers that run
//	cache.go     what the caches keep of an object
//	leases.go    the Leases that keep a second daemon, and the programs it replaces, from working at the same time
//	watchdog.go  /livez: dead watches and stalled queues
//	scrapes.go   /metrics: the registry's, then those of the objects in the caches; metricstls.go: over TLS
//
//	Config ──▶ run ──▶ manager (caches, metrics, probes: at once)
//	                └─▶ one elector per feature ──Lease held──▶ that feature's controllers
package main
