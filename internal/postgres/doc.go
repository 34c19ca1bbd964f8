// Package postgres holds what everything has in common that keeps data in PostgreSQL: how an address is read and shown, which
// errors mean that the server is away, and how tables are brought up to date.
package postgres
