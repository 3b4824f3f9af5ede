module profbucket.example/golib

go 1.25
