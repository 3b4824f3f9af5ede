module profbucket.example/pgo

go 1.25
