// Command alone is a program that is no test and runs the simulation.
package main

import (
	"fmt"

	"github.com/entrainsync/entrain/internal/simulation"
)

func main() {
	fmt.Println(simulation.Alone(simulation.Config{Seed: 3, Steps: 300}))
	fmt.Println(simulation.Alone(simulation.Config{Seed: 3, Steps: 2500, Plant: simulation.PlantFeedbackBeforeSaved}))
}
