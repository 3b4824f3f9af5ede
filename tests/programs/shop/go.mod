module profbucket.example/shop

go 1.25
