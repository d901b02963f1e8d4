#!/usr/bin/env node
import { runCommand } from './cli/program.js'

await runCommand(process, process.argv.slice(2))
