// Package lab simulates machines and the devices that power them: SSH servers,
// BMCs (IPMI v2.0 over RMCP+) and PDUs (Sentry3 over SNMP v2c) that speak the
// real protocols on loopback addresses of their own. It needs Linux and no
// privileges. Every command a device receives is logged, whether it was carried
// out or not: an oracle that is independent of what roller believes.
package lab
