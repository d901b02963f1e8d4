// Imported before everything else, because V8 reads its flags once.
import { setFlagsFromString } from 'node:v8'

// Prisma's query compiler is WebAssembly that seldom runs here: without optimized code it takes 40 MB less.
setFlagsFromString('--liftoff-only')
