module exercise

go 1.26
