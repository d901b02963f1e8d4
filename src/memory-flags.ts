// Imported before everything else, because V8 reads its flags once.
import { setFlagsFromString } from 'node:v8'

// Prisma's query compiler is WebAssembly that seldom runs here: without optimized code it takes 40 MB less.
setFlagsFromString('--liftoff-only')

// What graphql-js has collected of a selection outlives one collection in its weak map, which V8 takes for a long life: it
// then makes such arrays among the old objects at once, where they stay until the next full collection.
setFlagsFromString('--no-allocation-site-pretenuring')

// A full collection when the heap is half as large again as what was alive, instead of several times as large.
setFlagsFromString('--heap-growing-percent=50')
