// Package journal records what a mount and its sandbox last agreed on, durably and in order.
package journal
